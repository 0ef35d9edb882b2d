"""Checks of arguments that several rooms share: class IDs, integers and image sizes."""
