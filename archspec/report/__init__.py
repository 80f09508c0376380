"""Tables, live views and plots: values in, renderables out."""
