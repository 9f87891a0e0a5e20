"""Name of a setting in guided-diffusion or diffusers -> what it is called here."""

ELSEWHERE = {  # -> ours, with a value where there is but one
    "cfg": "guide=free:scale=1.5",
    "cfg_scale": "guide=free:scale=1.5",
    "classifier_path": "classifier",
    "classifier_scale": "scale",
    "ddim_eta": "sampler=ddim:eta=0.5",
    "generator": "seed",
    "guidance_scale": "scale",
    "model_path": "model",
    "num_images_per_prompt": "count",
    "num_inference_steps": "steps",
    "num_samples": "count",
    "timestep_respacing": "steps",
    "use_ddim": "sampler=ddim",
    "use_fp16": "precision=float16",
}
