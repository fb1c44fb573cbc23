"""A DICOM node: what a PACS or a modality sends is segmented by rule, and the result sent on."""
