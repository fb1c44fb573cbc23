"""A picture archive over DICOMweb: its client, what bounds its answers, what it says of series."""
