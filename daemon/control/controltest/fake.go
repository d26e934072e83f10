// Package controltest has a Service for tests whose answers the test sets, and a
// server of it on a socket of its own.
package controltest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// Fake answers with what its fields return. A nil field is an error.
type Fake struct {
	OnStatus       func(control.StatusRequest) (control.Status, error)
	OnFolderAdd    func(control.FolderAddRequest) (control.FolderAddResult, error)
	OnFolders      func() ([]control.Folder, error)
	OnFolderRemove func(control.FolderRemoveRequest) (control.FolderRemoveResult, error)
	OnFolderSet    func(control.FolderSetRequest) (control.FolderSettings, error)
	OnFolderPause  func(control.FolderPauseRequest) (control.FolderPauseResult, error)
	OnFolderMove   func(control.FolderMoveRequest) (control.FolderMoveResult, error)
	OnFolderAllow  func(control.FolderAllowRequest) (control.FolderAllowResult, error)
	OnFolderRevert func(control.FolderRevertRequest) (control.FolderRevertResult, error)
	OnWait         func(context.Context, control.WaitRequest) (control.WaitResult, error)
	OnLog          func(control.LogRequest, func(control.LogEntry) error) (control.Freshness, error)
	OnCat          func(control.CatRequest, func(control.CatInfo) io.Writer) error
	OnRollback     func(control.RollbackRequest, func(control.RollbackChange) error) (control.RollbackResult, error)
	OnFolderForget func(control.FolderForgetRequest) (control.FolderForgetResult, error)
	OnIgnored      func(control.IgnoredRequest, func(control.Ignored) error) error
	OnConflicts    func(control.ConflictsRequest, func(control.Conflict) error) error
	OnConflict     func(control.ConflictRequest) (control.ConflictDetail, error)
	OnResolve      func(control.ResolveRequest, io.Reader) (control.ResolveResult, error)
	OnNodes        func() ([]control.ClusterMember, error)
	OnInvite       func(control.InviteRequest) (control.Invite, error)
	OnNodeRemove   func(control.NodeRemoveRequest) (control.NodeRemoveResult, error)
	OnNodeRole     func(control.NodeRoleRequest) (control.NodeRoleResult, error)
	OnNodeLead     func(control.NodeLeadRequest) (control.NodeLeadResult, error)
	OnEvents       func(context.Context, control.EventsRequest, func([]control.Event) error) error
	OnWhy          func(control.WhyRequest) (control.WhyResult, error)
	OnTrace        func(control.TraceRequest) ([]control.Step, error)
	OnDoctor       func(control.DoctorRequest) (control.DoctorReport, error)
	HistoryAnswers
}

var errUnset = errors.New("the test set no answer for this request")

// Serve serves f on the socket of home until the test ends.
func Serve(tb testing.TB, home string, f *Fake) {
	tb.Helper()
	l, err := control.Listen(home)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.NewServer(f, slog.New(slog.DiscardHandler)).Run(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("control server: %v", err)
		}
	})
}

// Status implements control.Service.
func (f *Fake) Status(_ context.Context, r control.StatusRequest) (control.Status, error) {
	if f.OnStatus == nil {
		return control.Status{}, errUnset
	}
	return f.OnStatus(r)
}

// FolderAdd implements control.Service.
func (f *Fake) FolderAdd(_ context.Context, r control.FolderAddRequest) (control.FolderAddResult, error) {
	if f.OnFolderAdd == nil {
		return control.FolderAddResult{}, errUnset
	}
	return f.OnFolderAdd(r)
}

// Folders implements control.Service.
func (f *Fake) Folders(context.Context) ([]control.Folder, error) {
	if f.OnFolders == nil {
		return nil, errUnset
	}
	return f.OnFolders()
}

// FolderRemove implements control.Service.
func (f *Fake) FolderRemove(_ context.Context, r control.FolderRemoveRequest) (control.FolderRemoveResult, error) {
	if f.OnFolderRemove == nil {
		return control.FolderRemoveResult{}, errUnset
	}
	return f.OnFolderRemove(r)
}

// FolderSet implements control.Service.
func (f *Fake) FolderSet(_ context.Context, r control.FolderSetRequest) (control.FolderSettings, error) {
	if f.OnFolderSet == nil {
		return control.FolderSettings{}, errUnset
	}
	return f.OnFolderSet(r)
}

// FolderPause implements control.Service.
func (f *Fake) FolderPause(_ context.Context, r control.FolderPauseRequest) (control.FolderPauseResult, error) {
	if f.OnFolderPause == nil {
		return control.FolderPauseResult{}, errUnset
	}
	return f.OnFolderPause(r)
}

// FolderMove implements control.Service.
func (f *Fake) FolderMove(_ context.Context, r control.FolderMoveRequest) (control.FolderMoveResult, error) {
	if f.OnFolderMove == nil {
		return control.FolderMoveResult{}, errUnset
	}
	return f.OnFolderMove(r)
}

// FolderAllow implements control.Service.
func (f *Fake) FolderAllow(_ context.Context, r control.FolderAllowRequest) (control.FolderAllowResult, error) {
	if f.OnFolderAllow == nil {
		return control.FolderAllowResult{}, errUnset
	}
	return f.OnFolderAllow(r)
}

// FolderRevert implements control.Service.
func (f *Fake) FolderRevert(_ context.Context, r control.FolderRevertRequest) (control.FolderRevertResult, error) {
	if f.OnFolderRevert == nil {
		return control.FolderRevertResult{}, errUnset
	}
	return f.OnFolderRevert(r)
}

// Wait implements control.Service.
func (f *Fake) Wait(ctx context.Context, r control.WaitRequest) (control.WaitResult, error) {
	if f.OnWait == nil {
		return control.WaitResult{}, errUnset
	}
	return f.OnWait(ctx, r)
}

// Log implements control.Service.
func (f *Fake) Log(_ context.Context, r control.LogRequest, emit func(control.LogEntry) error) (control.Freshness, error) {
	if f.OnLog == nil {
		return control.Freshness{}, errUnset
	}
	return f.OnLog(r, emit)
}

// Cat implements control.Service.
func (f *Fake) Cat(_ context.Context, r control.CatRequest, start func(control.CatInfo) io.Writer) error {
	if f.OnCat == nil {
		return errUnset
	}
	return f.OnCat(r, start)
}

// Rollback implements control.Service.
func (f *Fake) Rollback(_ context.Context, r control.RollbackRequest, emit func(control.RollbackChange) error) (control.RollbackResult, error) {
	if f.OnRollback == nil {
		return control.RollbackResult{}, errUnset
	}
	return f.OnRollback(r, emit)
}

// FolderForget implements control.Service.
func (f *Fake) FolderForget(_ context.Context, r control.FolderForgetRequest) (control.FolderForgetResult, error) {
	if f.OnFolderForget == nil {
		return control.FolderForgetResult{}, errUnset
	}
	return f.OnFolderForget(r)
}

// Ignored implements control.Service.
func (f *Fake) Ignored(_ context.Context, r control.IgnoredRequest, emit func(control.Ignored) error) error {
	if f.OnIgnored == nil {
		return errUnset
	}
	return f.OnIgnored(r, emit)
}

// Conflicts implements control.Service.
func (f *Fake) Conflicts(_ context.Context, r control.ConflictsRequest, emit func(control.Conflict) error) error {
	if f.OnConflicts == nil {
		return errUnset
	}
	return f.OnConflicts(r, emit)
}

// ConflictShow implements control.Service.
func (f *Fake) ConflictShow(_ context.Context, r control.ConflictRequest) (control.ConflictDetail, error) {
	if f.OnConflict == nil {
		return control.ConflictDetail{}, errUnset
	}
	return f.OnConflict(r)
}

// ConflictResolve implements control.Service.
func (f *Fake) ConflictResolve(_ context.Context, r control.ResolveRequest, with io.Reader) (control.ResolveResult, error) {
	if f.OnResolve == nil {
		return control.ResolveResult{}, errUnset
	}
	return f.OnResolve(r, with)
}

// Nodes implements control.Service.
func (f *Fake) Nodes(context.Context) ([]control.ClusterMember, error) {
	if f.OnNodes == nil {
		return nil, errUnset
	}
	return f.OnNodes()
}

// Invite implements control.Service.
func (f *Fake) Invite(_ context.Context, r control.InviteRequest) (control.Invite, error) {
	if f.OnInvite == nil {
		return control.Invite{}, errUnset
	}
	return f.OnInvite(r)
}

// Events implements control.Service.
func (f *Fake) Events(ctx context.Context, r control.EventsRequest, emit func([]control.Event) error) error {
	if f.OnEvents == nil {
		return errUnset
	}
	return f.OnEvents(ctx, r, emit)
}

// Why implements control.Service.
func (f *Fake) Why(_ context.Context, r control.WhyRequest) (control.WhyResult, error) {
	if f.OnWhy == nil {
		return control.WhyResult{}, errUnset
	}
	return f.OnWhy(r)
}

// Trace implements control.Service.
func (f *Fake) Trace(_ context.Context, r control.TraceRequest) ([]control.Step, error) {
	if f.OnTrace == nil {
		return nil, errUnset
	}
	return f.OnTrace(r)
}

// Doctor implements control.Service.
func (f *Fake) Doctor(_ context.Context, r control.DoctorRequest) (control.DoctorReport, error) {
	if f.OnDoctor == nil {
		return control.DoctorReport{}, errUnset
	}
	return f.OnDoctor(r)
}

var _ control.Service = (*Fake)(nil)
