"""What one viewer alone asks for or understands otherwise: translated here, so that nothing behind knows it."""
