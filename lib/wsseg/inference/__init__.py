"""A scan and a package to a mask, and what to label next."""
