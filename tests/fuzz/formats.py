"""What the fuzz suite damages, and the ways it comes in."""

SERIES = "DICOM"
"""The format that is a folder of files."""

FORMATS = (".nii", ".nii.gz", ".nrrd", ".packed.nrrd", ".png", ".jpg", ".tif", SERIES)

CHECKED = (".nii.gz", ".packed.nrrd", ".png")
"""Formats with a checksum over all of their voxels."""

WAYS = ("reader", "command line", "server")
"""The library's reader, ``wsseg segment``, uploads to a live server."""
