package control

import (
	"context"
	"net/http"
)

// IgnoredRequest lists what is on this node's disk and ignored.
type IgnoredRequest struct {
	// Folder is a folder's name; "" is all folders of this node.
	Folder string `json:"folder,omitempty"`
}

// Ignored is something on the disk that a rule keeps from being synced. What is in an
// ignored directory is not listed.
type Ignored struct {
	Folder  string `json:"folder"`
	Path    string `json:"path"`
	PathB64 string `json:"path_b64,omitempty"`
	Kind    string `json:"kind"` // file, directory, symlink, special file
	// RuleFile is the rule file's path in the folder, RuleLine the line in it. Line 0
	// is for a file that cannot be used, and RulePattern then says why. Without a file
	// RulePattern is the "only=" of this node that leaves the path out.
	RuleFile       string `json:"rule_file"`
	RuleFileB64    string `json:"rule_file_b64,omitempty"`
	RuleLine       int    `json:"rule_line"`
	RulePattern    string `json:"rule_pattern"`
	RulePatternB64 string `json:"rule_pattern_b64,omitempty"`
}

// Ignored implements Service.
func (c *Client) Ignored(ctx context.Context, r IgnoredRequest, emit func(Ignored) error) error {
	return list(ctx, c, "/v1/ignored", r, emit, &struct{}{}, 0)
}

// ignored serves Service.Ignored.
func (s *Server) ignored() http.HandlerFunc {
	return stream(s, func(ctx context.Context, r IgnoredRequest, emit func(Ignored) error) (struct{}, error) {
		return struct{}{}, s.svc.Ignored(ctx, r, emit)
	})
}
