"""The plugins of the ispy shell that are always there."""
