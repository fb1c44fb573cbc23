"""Whether a scan is one for this model, and how good its mask is: what is told without a reference."""
