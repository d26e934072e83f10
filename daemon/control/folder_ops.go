package control

import "context"

// FolderPauseRequest pauses a folder on this node, or lets it go on.
type FolderPauseRequest struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
}

// FolderPauseResult is what holds now.
type FolderPauseResult struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Paused bool   `json:"paused"`
}

// FolderMoveRequest says that a folder's root has moved on this machine.
type FolderMoveRequest struct {
	Name string  `json:"name"`
	Path RawPath `json:"path"` // absolute
}

// FolderMoveResult is what `folder move` did.
type FolderMoveResult struct {
	Name     string `json:"name"`
	ID       string `json:"id"`
	Path     string `json:"path"`
	Previous string `json:"previous"`
	// Left: the previous root is still there and marked as this folder.
	Left bool `json:"left"`
}

// FolderAllowRequest lets held deletions go.
type FolderAllowRequest struct {
	Name string `json:"name"`
	// By is who says so, for the history.
	By     string `json:"by"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// FolderAllowResult is what was let go, or would be.
type FolderAllowResult struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Deletes int    `json:"deletes"`
	// Stay counts held files that others have changed since: they come back.
	Stay   int  `json:"stay"`
	DryRun bool `json:"dry_run"`
}

// FolderRevertRequest puts back what this node did not commit: held deletions, or
// on a node that only receives what was changed on it.
type FolderRevertRequest struct {
	Name   string `json:"name"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// FolderRevertResult is what was put back, or would be.
type FolderRevertResult struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// Restored counts paths that come back from history or are put right.
	Restored int `json:"restored"`
	// SetAside counts what was moved out of the way, to Where.
	SetAside int    `json:"set_aside"`
	Where    string `json:"where,omitempty"`
	DryRun   bool   `json:"dry_run"`
}

// FolderPause implements Service.
func (c *Client) FolderPause(ctx context.Context, r FolderPauseRequest) (v FolderPauseResult, err error) {
	return v, c.call(ctx, "POST", "/v1/folder/pause", r, &v, c.Timeout)
}

// FolderMove implements Service.
func (c *Client) FolderMove(ctx context.Context, r FolderMoveRequest) (v FolderMoveResult, err error) {
	return v, c.call(ctx, "POST", "/v1/folder/move", r, &v, addTimeout)
}

// FolderAllow implements Service.
func (c *Client) FolderAllow(ctx context.Context, r FolderAllowRequest) (v FolderAllowResult, err error) {
	return v, c.call(ctx, "POST", "/v1/folder/allow", r, &v, addTimeout)
}

// FolderRevert implements Service.
func (c *Client) FolderRevert(ctx context.Context, r FolderRevertRequest) (v FolderRevertResult, err error) {
	return v, c.call(ctx, "POST", "/v1/folder/revert", r, &v, addTimeout)
}
