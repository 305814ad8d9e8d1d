"""`accompany serve`: a page in the browser and an HTTP API, in one process, with one thread that runs the model.

`limits` says what is allowed, `access` who may ask, `reception` how many may upload at once, `uploads` takes recordings
in, `store` keeps them, `disk` reads and writes their files, `jobs` is the bounded queue, `work` what its jobs do,
`downloads` what goes out; `decoding` and the lossy encoders of `encoding` run in processes of their own (`apart`);
`routes` is the API, `app` puts it together, `protocol` closes connections that are too slow and `run` opens the port.
The page itself is in `page/`: plain HTML, CSS and JavaScript, nothing to build, nothing from the net.
"""
