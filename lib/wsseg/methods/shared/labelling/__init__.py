"""Labels of pixels that methods make for themselves, of what people said or drew."""
