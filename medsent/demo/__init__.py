"""What ships with medsent so that it runs from nothing: model, data and adapter."""
