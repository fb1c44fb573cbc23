"""NIfTI, NRRD and pictures, in and out, and the one table of them."""
