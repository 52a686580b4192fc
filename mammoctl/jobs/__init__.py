"""Jobs: the training runs in a transient systemd unit on the master and is followed from here."""
