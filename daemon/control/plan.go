package control

// FolderPlan is how the content of a directory stands to a folder that it joins.
// Files and symlinks are counted; a directory only where the folder has something
// else.
type FolderPlan struct {
	// Equal are as in the folder.
	Equal PlanPaths `json:"equal"`
	// Older are earlier versions of what the folder has: they are brought up to date.
	Older PlanPaths `json:"older"`
	// DeletedThere are unchanged since the folder deleted or moved them: they go here too.
	DeletedThere PlanPaths `json:"deleted_there"`
	// OnlyThere are received, OnlyHere sent.
	OnlyThere PlanPaths `json:"only_there"`
	OnlyHere  PlanPaths `json:"only_here"`
	// Different are neither equal nor in history: Prefer decides.
	Different PlanPaths `json:"different"`
	// Unread could not be read, or changed meanwhile: they are compared later.
	Unread PlanPaths `json:"unread"`
	// Limit is how many may differ without a preference; Stops says that more do, and
	// no preference was given.
	Limit  int    `json:"limit"`
	Stops  bool   `json:"stops"`
	Prefer string `json:"prefer,omitempty"`
}

// PlanPaths is how many paths stand in one way, and the first of them.
type PlanPaths struct {
	Count int        `json:"count"`
	First []PlanPath `json:"first"`
}

// PlanPath is a path of a plan.
type PlanPath struct {
	Path    string `json:"path"`
	PathB64 string `json:"path_b64,omitempty"`
}

// KeptMine is where history keeps the bytes that a folder's own took the place of:
// below Path, a directory that is deleted again, as of Revision.
type KeptMine struct {
	Path     string `json:"path"`
	Revision uint64 `json:"revision"`
	Files    int    `json:"files"`
}
