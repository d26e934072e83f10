package control

import "context"

// NodeRemoveRequest ends a node's membership. Name is its name, or at least 8 digits
// of its ID.
type NodeRemoveRequest struct {
	Name string `json:"name"`
	// Force removes it although only its disk is known to have what others lack, or may
	// have old versions.
	Force  bool `json:"force,omitempty"`
	DryRun bool `json:"dry_run,omitempty"`
}

// NodeRemoveResult is who was removed, or would be.
type NodeRemoveResult struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// Voter: it had a vote, which went to another node where one could take it.
	Voter bool `json:"voter"`
	// Only are the folders of which no other node that is online is known to have all
	// that this one has.
	Only []string `json:"only"`
	// History are the folders of which it may be the only one that has old versions: the
	// others joined after them, and received what the folder was then.
	History []string `json:"history"`
	DryRun  bool     `json:"dry_run"`
}

// NodeRoleRequest says whether a node is to vote.
type NodeRoleRequest struct {
	Name string `json:"name"`
	Vote bool   `json:"vote"`
}

// NodeRoleResult is what holds now.
type NodeRoleResult struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// Role is what it is now: "voter" or "learner". It may become a voter later than
	// asked: an odd number votes, of nodes that have been online for some seconds.
	Role string `json:"role"`
}

// NodeLeadRequest hands the leadership over, to the voter To, or to any if To is "".
type NodeLeadRequest struct {
	To string `json:"to,omitempty"`
}

// NodeLeadResult is who leads now.
type NodeLeadResult struct {
	Leader string `json:"leader"`
	ID     string `json:"id"`
}

// NodeRemove implements Service.
func (c *Client) NodeRemove(ctx context.Context, r NodeRemoveRequest) (v NodeRemoveResult, err error) {
	return v, c.call(ctx, "POST", "/v1/node/rm", r, &v, 2*c.Timeout)
}

// NodeRole implements Service.
func (c *Client) NodeRole(ctx context.Context, r NodeRoleRequest) (v NodeRoleResult, err error) {
	return v, c.call(ctx, "POST", "/v1/node/role", r, &v, 2*c.Timeout)
}

// NodeLead implements Service.
func (c *Client) NodeLead(ctx context.Context, r NodeLeadRequest) (v NodeLeadResult, err error) {
	return v, c.call(ctx, "POST", "/v1/node/lead", r, &v, c.Timeout)
}
