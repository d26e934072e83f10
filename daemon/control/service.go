package control

import (
	"context"
	"io"
)

// Service is a running node as the control API needs it. Every method is called
// concurrently, ends when ctx does, and returns *Error where the class of the
// error is not CodeFailed. A method that hands items to a callback stops and
// returns the callback's error when that fails: the caller has gone.
type Service interface {
	Status(ctx context.Context, r StatusRequest) (Status, error)

	FolderAdd(ctx context.Context, r FolderAddRequest) (FolderAddResult, error)
	Folders(ctx context.Context) ([]Folder, error)
	FolderRemove(ctx context.Context, r FolderRemoveRequest) (FolderRemoveResult, error)
	// FolderForget ends the tracking of a path; everybody's files stay.
	FolderForget(ctx context.Context, r FolderForgetRequest) (FolderForgetResult, error)
	// FolderSet changes settings, all or none of those of one scope, and returns all.
	FolderSet(ctx context.Context, r FolderSetRequest) (FolderSettings, error)
	FolderPause(ctx context.Context, r FolderPauseRequest) (FolderPauseResult, error)
	FolderMove(ctx context.Context, r FolderMoveRequest) (FolderMoveResult, error)
	FolderAllow(ctx context.Context, r FolderAllowRequest) (FolderAllowResult, error)
	FolderRevert(ctx context.Context, r FolderRevertRequest) (FolderRevertResult, error)

	// Wait returns a result on success; CodeTimeout with Paths saying what is
	// missing at the timeout; CodeFailed with Paths at once where time alone cannot
	// mend it. The Server bounds ctx by r.Timeout plus some grace; the method is to
	// return at r.Timeout.
	Wait(ctx context.Context, r WaitRequest) (WaitResult, error)

	// Log emits entries newest first.
	Log(ctx context.Context, r LogRequest, emit func(LogEntry) error) (Freshness, error)
	// Cat finds the version, calls start once, and writes exactly CatInfo.Size
	// bytes to the writer that it returns. An error after start reaches the client
	// as an error after the bytes.
	Cat(ctx context.Context, r CatRequest, start func(CatInfo) io.Writer) error
	// Rollback emits the changes in path order when r.DryRun, else none.
	Rollback(ctx context.Context, r RollbackRequest, emit func(RollbackChange) error) (RollbackResult, error)
	// Show emits the commit, then its changes in path order.
	Show(ctx context.Context, r ShowRequest, emit func(ShowItem) error) error
	// Diff emits what is compared, then each path that differs; in path order where
	// both sides are one path.
	Diff(ctx context.Context, r DiffRequest, emit func(DiffItem) error) error
	// Tree emits what the tree holds, then its entries.
	Tree(ctx context.Context, r TreeRequest, emit func(TreeItem) error) error
	Tag(ctx context.Context, r TagRequest) (Tag, error)
	Tags(ctx context.Context, r TagsRequest) ([]Tag, error)
	// Conflicts emits records, newest first within a folder.
	Conflicts(ctx context.Context, r ConflictsRequest, emit func(Conflict) error) error
	ConflictShow(ctx context.Context, r ConflictRequest) (ConflictDetail, error)
	// ConflictResolve reads exactly r.With.Size bytes of with where r.With is set, once
	// it knows that the conflict can be resolved.
	ConflictResolve(ctx context.Context, r ResolveRequest, with io.Reader) (ResolveResult, error)
	// Ignored emits what is on this node's disks and ignored, folder by folder.
	Ignored(ctx context.Context, r IgnoredRequest, emit func(Ignored) error) error

	Nodes(ctx context.Context) ([]ClusterMember, error)
	Invite(ctx context.Context, r InviteRequest) (Invite, error)
	// NodeRemove ends the membership of another node, whose vote moves first.
	NodeRemove(ctx context.Context, r NodeRemoveRequest) (NodeRemoveResult, error)
	// NodeRole gives a node a vote or takes it, and waits some seconds for it.
	NodeRole(ctx context.Context, r NodeRoleRequest) (NodeRoleResult, error)
	// NodeLead hands over this node's leadership.
	NodeLead(ctx context.Context, r NodeLeadRequest) (NodeLeadResult, error)

	// Events emits what happens, in batches, until ctx ends, and returns nil then.
	Events(ctx context.Context, r EventsRequest, emit func([]Event) error) error

	// Why says what a path waits for.
	Why(ctx context.Context, r WhyRequest) (WhyResult, error)

	// Trace returns the last known steps of a path's way, oldest first.
	Trace(ctx context.Context, r TraceRequest) ([]Step, error)

	// Doctor checks the machine and the way to the other nodes; that takes seconds.
	Doctor(ctx context.Context, r DoctorRequest) (DoctorReport, error)
}
