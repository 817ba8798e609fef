//! Pixels: JPEG, orientation, transparency, 16 bits, files that are no pictures.
