package control

import "context"

// FolderForgetRequest ends the tracking of a path.
type FolderForgetRequest struct {
	Target Target `json:"target"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// FolderForgetResult is what was forgotten, or would be.
type FolderForgetResult struct {
	Folder  string `json:"folder"`
	Path    string `json:"path"`
	PathB64 string `json:"path_b64,omitempty"`
	// Revision is the one that was made, 0 for a dry run; Paths how many paths it is.
	Revision uint64 `json:"revision"`
	Paths    int    `json:"paths"`
	DryRun   bool   `json:"dry_run"`
}

// FolderForget implements Service.
func (c *Client) FolderForget(ctx context.Context, r FolderForgetRequest) (v FolderForgetResult, err error) {
	return v, c.call(ctx, "POST", "/v1/folder/forget", r, &v, addTimeout)
}
