"""Engines answer questions about a network with a bracket, points and a voucher; ``wdro`` knows nothing below them."""
