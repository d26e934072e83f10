package controltest

import (
	"context"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// NodeRemove implements control.Service.
func (f *Fake) NodeRemove(_ context.Context, r control.NodeRemoveRequest) (control.NodeRemoveResult, error) {
	if f.OnNodeRemove == nil {
		return control.NodeRemoveResult{}, errUnset
	}
	return f.OnNodeRemove(r)
}

// NodeRole implements control.Service.
func (f *Fake) NodeRole(_ context.Context, r control.NodeRoleRequest) (control.NodeRoleResult, error) {
	if f.OnNodeRole == nil {
		return control.NodeRoleResult{}, errUnset
	}
	return f.OnNodeRole(r)
}

// NodeLead implements control.Service.
func (f *Fake) NodeLead(_ context.Context, r control.NodeLeadRequest) (control.NodeLeadResult, error) {
	if f.OnNodeLead == nil {
		return control.NodeLeadResult{}, errUnset
	}
	return f.OnNodeLead(r)
}
