"""What all backends of ONNX graphs share: batches laid out as a graph wants them, its outputs read, its life."""
