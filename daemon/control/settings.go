package control

import "context"

// FolderSetRequest changes settings of a folder. Without any it only asks for them.
type FolderSetRequest struct {
	Name string            `json:"name"`
	Set  map[string]string `json:"set,omitempty"`
}

// Scopes of a FolderSetting.
const (
	ScopeCluster = "cluster" // replicated: the same on every node
	ScopeNode    = "node"    // of this node only
)

// FolderSetting is one key of a folder with the value that holds.
type FolderSetting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Scope string `json:"scope"`
	// Values says what it can be.
	Values string `json:"values"`
}

// FolderSettings are a folder's settings. Those of scope node are left out where
// this node does not keep the folder.
type FolderSettings struct {
	Name     string          `json:"name"`
	ID       string          `json:"id"`
	Settings []FolderSetting `json:"settings"`
}

// FolderSet implements Service.
func (c *Client) FolderSet(ctx context.Context, r FolderSetRequest) (v FolderSettings, err error) {
	return v, c.call(ctx, "POST", "/v1/folder/set", r, &v, addTimeout)
}
