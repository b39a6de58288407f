"""The calls of other packages, for apps that move from them."""
