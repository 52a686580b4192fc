"""A lab of real machines on one Linux host: systemd-nspawn nodes reached only over SSH."""
