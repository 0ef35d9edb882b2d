"""One run of `fit`: its folder, its parts, and how it starts, trains and resumes."""
