complete --keep-order --exclusive --command ensign --arguments "(COMPLETE=fish ensign -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
