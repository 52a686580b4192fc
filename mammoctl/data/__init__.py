"""Data sets: reading a folder of images, packing it and putting it on the cluster's storage."""
