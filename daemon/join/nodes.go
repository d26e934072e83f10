package join

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// wireNode is a member's record on the wire.
type wireNode struct {
	ID         id.Node   `json:"id"`
	Name       string    `json:"name"`
	Address    string    `json:"address"`
	Role       meta.Role `json:"role"`
	AdmittedBy id.Node   `json:"admitted_by"`
	Signature  []byte    `json:"signature"` // base64
	Added      time.Time `json:"added"`
}

func encodeNodes(nodes []meta.NodeRecord) []wireNode {
	out := make([]wireNode, len(nodes))
	for i, n := range nodes {
		out[i] = wireNode(n)
	}
	return out
}

// decodeNodes checks what the inviter sent. The inviter is trusted, as any member
// is, but not to send what would be refused from the log.
func decodeNodes(in []wireNode) ([]meta.NodeRecord, error) {
	if len(in) > MaxNodes {
		return nil, fmt.Errorf("%w: %d nodes", ErrBadRequest, len(in))
	}
	out := make([]meta.NodeRecord, len(in))
	for i, n := range in {
		if n.ID.IsZero() || n.Role > meta.RoleLearner || len(n.Signature) > ed25519.SignatureSize {
			return nil, fmt.Errorf("%w: record of node %s", ErrBadRequest, n.ID.Short())
		}
		if err := id.CheckName(n.Name); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
		if n.Address != "" {
			if err := CheckAddress(n.Address); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
			}
		}
		out[i] = meta.NodeRecord(n)
	}
	return out, nil
}
