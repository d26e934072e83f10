package control

import (
	"context"
	"time"
)

// ShowRequest asks for one commit and what it changed.
type ShowRequest struct {
	Target Target `json:"target"` // a folder, or a path in it: only changes within that
	Rev    Rev    `json:"rev"`
	// Limit is how many changes to list; 0 is all.
	Limit int `json:"limit,omitempty"`
}

// DiffRequest compares two versions of a path, or of two paths.
type DiffRequest struct {
	Old    Target `json:"old"`
	OldRev Rev    `json:"old_rev"`
	New    Target `json:"new"`
	NewRev Rev    `json:"new_rev"`
}

// TreeRequest lists what a path was at a revision.
type TreeRequest struct {
	Target Target `json:"target"`
	Rev    Rev    `json:"rev"`
}

// TagRequest names a revision, or drops the name.
type TagRequest struct {
	Name string `json:"name"`
	// Target is the folder.
	Target Target `json:"target"`
	Rev    Rev    `json:"rev"`
	Remove bool   `json:"remove,omitempty"`
}

// TagsRequest lists tags.
type TagsRequest struct {
	Folder string `json:"folder,omitempty"` // "": all folders
}

// ShowItem is one item of `show`. Exactly one field is set: Commit in the first
// item, Change in each later one.
type ShowItem struct {
	Commit *ShowCommit `json:"commit,omitempty"`
	Change *PathChange `json:"change,omitempty"`
}

// ShowCommit is a commit with its folder and its names.
type ShowCommit struct {
	Folder string `json:"folder"`
	LogCommit
	Tags []string `json:"tags"`
}

// PathState is what a path is at a revision.
type PathState struct {
	Kind string `json:"kind"`
	Size int64  `json:"size"`
	Mode string `json:"mode"` // octal: "0644"
	// MTime and Content (BLAKE3-256 in hex) are a file's, Target a symlink's.
	MTime   *time.Time `json:"mtime"`
	Content string     `json:"content"`
	Target  string     `json:"target,omitempty"`
	// TargetB64 is set where the target is not UTF-8.
	TargetB64 string `json:"target_b64,omitempty"`
	// Revision made this version.
	Revision uint64 `json:"revision"`
}

// PathChange is how one path differs between two revisions.
type PathChange struct {
	// Action is "create", "modify", "attributes", "rename" or "delete".
	Action  string `json:"action"`
	Path    string `json:"path"`
	PathB64 string `json:"path_b64,omitempty"`
	// From is where it was before a rename, or what a conflict copy was made of.
	From    string `json:"from,omitempty"`
	FromB64 string `json:"from_b64,omitempty"`
	// Edited is set on a rename whose content changed too; Carried on what moved
	// with a directory above it and did not change.
	Edited  bool `json:"edited,omitempty"`
	Carried bool `json:"carried,omitempty"`
	// Old and New are what was and what is there; null where nothing.
	Old *PathState `json:"old"`
	New *PathState `json:"new"`
}

// DiffInfo is what was compared.
type DiffInfo struct {
	Folder      string `json:"folder"`
	OldPath     string `json:"old_path"` // "" for the whole folder
	OldPathB64  string `json:"old_path_b64,omitempty"`
	OldRevision uint64 `json:"old_revision"`
	NewFolder   string `json:"new_folder"`
	NewPath     string `json:"new_path"`
	NewPathB64  string `json:"new_path_b64,omitempty"`
	NewRevision uint64 `json:"new_revision"`
	// File is set where one file or symlink was compared, no directory.
	File bool `json:"file"`
	// LocalChanges counts paths of the folder on this disk that are not committed
	// yet, which no revision shows.
	LocalChanges int `json:"local_changes"`
}

// DiffItem is one item of a diff: Info in the first, Change in each later one.
type DiffItem struct {
	Info   *DiffInfo   `json:"info,omitempty"`
	Change *PathChange `json:"change,omitempty"`
}

// TreeInfo is what a tree holds.
type TreeInfo struct {
	Folder   string `json:"folder"`
	Path     string `json:"path"`
	PathB64  string `json:"path_b64,omitempty"`
	Revision uint64 `json:"revision"`
	Kind     string `json:"kind"` // of Path itself
	Files    uint64 `json:"files"`
	Dirs     uint64 `json:"directories"`
	Symlinks uint64 `json:"symlinks"`
	Bytes    int64  `json:"bytes"`
}

// TreeItem is one item of a tree: Info in the first, then the entries, each
// directory before what is in it. Path is relative to the folder.
type TreeItem struct {
	Info    *TreeInfo  `json:"info,omitempty"`
	Path    string     `json:"path,omitempty"`
	PathB64 string     `json:"path_b64,omitempty"`
	State   *PathState `json:"state,omitempty"`
}

// Tag is a named revision.
type Tag struct {
	Name     string    `json:"name"`
	Folder   string    `json:"folder"`
	Revision uint64    `json:"revision"`
	Time     time.Time `json:"time"` // when the tag was set
	Node     string    `json:"node"`
	// RevisionTime is when the revision was committed.
	RevisionTime time.Time `json:"revision_time"`
}

// Show implements Service.
func (c *Client) Show(ctx context.Context, r ShowRequest, emit func(ShowItem) error) error {
	return list(ctx, c, "/v1/show", r, emit, &struct{}{}, 0)
}

// Diff implements Service.
func (c *Client) Diff(ctx context.Context, r DiffRequest, emit func(DiffItem) error) error {
	return list(ctx, c, "/v1/diff", r, emit, &struct{}{}, 0)
}

// Tree implements Service.
func (c *Client) Tree(ctx context.Context, r TreeRequest, emit func(TreeItem) error) error {
	return list(ctx, c, "/v1/tree", r, emit, &struct{}{}, 0)
}

// Tag implements Service.
func (c *Client) Tag(ctx context.Context, r TagRequest) (v Tag, err error) {
	return v, c.call(ctx, "POST", "/v1/tag", r, &v, c.Timeout)
}

// Tags implements Service.
func (c *Client) Tags(ctx context.Context, r TagsRequest) (v []Tag, err error) {
	return v, c.call(ctx, "POST", "/v1/tags", r, &v, c.Timeout)
}

func (s *Server) historyRoutes() {
	s.mux.HandleFunc("POST /v1/show", stream(s, endless(s.svc.Show)))
	s.mux.HandleFunc("POST /v1/diff", stream(s, endless(s.svc.Diff)))
	s.mux.HandleFunc("POST /v1/tree", stream(s, endless(s.svc.Tree)))
	s.mux.HandleFunc("POST /v1/tag", plain(s, s.svc.Tag))
	s.mux.HandleFunc("POST /v1/tags", plain(s, func(ctx context.Context, r TagsRequest) ([]Tag, error) {
		v, err := s.svc.Tags(ctx, r)
		return nonNil(v), err
	}))
}

// endless makes of a list without a result one with an empty result.
func endless[Req, Item any](do func(context.Context, Req, func(Item) error) error) func(context.Context, Req, func(Item) error) (struct{}, error) {
	return func(ctx context.Context, r Req, emit func(Item) error) (struct{}, error) {
		return struct{}{}, do(ctx, r, emit)
	}
}
