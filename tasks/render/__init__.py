"""Product photos that never were: ray-cast products with text, logo, pattern and face, and the truth about them."""
