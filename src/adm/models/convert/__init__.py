"""Models of other systems <-> ours: guided-diffusion's and its siblings', and diffusers'."""
