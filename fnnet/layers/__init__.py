"""What a network is made of: the `Layer` protocol, one file a family of layers, and the containers."""
