"""What the program is made of: whether a pinned release is known to be bad."""
