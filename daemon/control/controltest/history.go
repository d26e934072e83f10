package controltest

import (
	"context"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// HistoryAnswers are a Fake's answers about history.
type HistoryAnswers struct {
	OnShow func(control.ShowRequest, func(control.ShowItem) error) error
	OnDiff func(control.DiffRequest, func(control.DiffItem) error) error
	OnTree func(control.TreeRequest, func(control.TreeItem) error) error
	OnTag  func(control.TagRequest) (control.Tag, error)
	OnTags func(control.TagsRequest) ([]control.Tag, error)
}

// Show implements control.Service.
func (f *HistoryAnswers) Show(_ context.Context, r control.ShowRequest, emit func(control.ShowItem) error) error {
	if f.OnShow == nil {
		return errUnset
	}
	return f.OnShow(r, emit)
}

// Diff implements control.Service.
func (f *HistoryAnswers) Diff(_ context.Context, r control.DiffRequest, emit func(control.DiffItem) error) error {
	if f.OnDiff == nil {
		return errUnset
	}
	return f.OnDiff(r, emit)
}

// Tree implements control.Service.
func (f *HistoryAnswers) Tree(_ context.Context, r control.TreeRequest, emit func(control.TreeItem) error) error {
	if f.OnTree == nil {
		return errUnset
	}
	return f.OnTree(r, emit)
}

// Tag implements control.Service.
func (f *HistoryAnswers) Tag(_ context.Context, r control.TagRequest) (control.Tag, error) {
	if f.OnTag == nil {
		return control.Tag{}, errUnset
	}
	return f.OnTag(r)
}

// Tags implements control.Service.
func (f *HistoryAnswers) Tags(_ context.Context, r control.TagsRequest) ([]control.Tag, error) {
	if f.OnTags == nil {
		return nil, errUnset
	}
	return f.OnTags(r)
}
