"""Further operators of a cluster: who is let in, with which key, and what they are handed."""
