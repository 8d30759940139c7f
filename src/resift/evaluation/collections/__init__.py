"""Where collections come from: folders and files in the layouts that people have."""
