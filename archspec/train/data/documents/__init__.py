"""Documents of text, one file a format: each yields documents or says what is wrong with them."""
