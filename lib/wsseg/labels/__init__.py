"""Names and voxel values, and the weak labels a scan can carry."""
