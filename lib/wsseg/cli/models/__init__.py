"""Commands on models: made, trained, described, listed."""
