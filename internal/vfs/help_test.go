package vfs

import "github.com/lockstep-sync/lockstep/internal/id"

func idPath(s string) id.Path { return id.Path(s) }
