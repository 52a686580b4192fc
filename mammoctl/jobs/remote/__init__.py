"""What runs on the master: shipped with each job as one zip, for its Python (3.9 or later).

It keeps the job's state, lets it be watched, waits for its turn, and tells of its end. Nothing is
imported here but the standard library and each other.
"""
