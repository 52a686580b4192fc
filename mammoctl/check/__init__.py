"""Everything that could fail later, found before anything is changed."""
