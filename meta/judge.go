package meta

import "github.com/lockstep-sync/lockstep/internal/id"

// situation is what judging a put needs to know. Pure values: the caller has read
// them.
type situation struct {
	// Head is the newest entry of the path, Absent if there is none.
	Head Entry
	// Known: the author had seen Head when it made the change.
	Known bool
	// NoBase: the author knew no version of the path.
	NoBase bool
	// Base is the entry that the change was made from; Absent without a base. Only
	// read when Known is false.
	Base Entry
	// Entry and Mask are the change's.
	Entry Entry
	Mask  Fields
	// Had returns the newest revision after the base at which the path had an
	// entry's content and those of its attributes that are named, 0 if none. Only
	// called where the author has not seen Head.
	Had func(Entry, Fields) (id.Revision, error)
}

// action is what to do with a put.
type action uint8

const (
	// actWrite: Entry becomes the path's.
	actWrite action = iota
	// actRevive: as actWrite, against a delete: recorded, automatic.
	actRevive
	// actMerge: Entry, a combination, becomes the path's.
	actMerge
	// actNothing: history has it already.
	actNothing
	// actCopy: the head stays, Entry goes beside it, a conflict is opened.
	actCopy
)

// judgement is what becomes of a put.
type judgement struct {
	Act   action
	Entry Entry
	// Unseen: Entry's content is not the author's, who has not seen it.
	Unseen bool
	// At is, for actNothing, the revision that has the content; 0 is the head.
	At       id.Revision
	Conflict ConflictKind
}

// judgePut decides about a put by the rules of DESIGN.md.
func judgePut(s situation) (judgement, error) {
	from := s.Base // what the author changed
	if s.Known {
		from = s.Head
	}
	if !s.Entry.SameContent(from) {
		// Whatever the mask says, history may not have this content.
		s.Mask |= FieldContent
	}
	if s.Known {
		if s.Head.Kind == Absent {
			return judgement{Act: actWrite, Entry: s.Entry}, nil
		}
		return changed(s.Head, overlay(s.Head, s.Entry, s.Mask), actWrite), nil
	}
	attributes := s.Mask
	if s.Mask&FieldContent != 0 {
		attributes = 0
	}
	if !s.NoBase && s.Mask != 0 && (attributes != 0 || !s.Entry.SameContent(s.Head)) {
		// What the path had since, content or attributes: an author who comes back with
		// an older state must not undo what came after.
		if at, err := s.Had(s.Entry, attributes); err != nil || at != 0 {
			return judgement{Act: actNothing, At: at}, err
		}
	}
	switch {
	case s.Head.Kind == Absent:
		if !s.NoBase && s.Base.Kind != Absent {
			return judgement{Act: actRevive, Entry: s.Entry, Conflict: ConflictEditDelete}, nil
		}
		return judgement{Act: actWrite, Entry: s.Entry}, nil
	case s.Head.Kind == Dir && s.Entry.Kind == Dir:
		if s.NoBase {
			return judgement{Act: actNothing}, nil
		}
		return changed(s.Head, overlay(s.Head, s.Entry, s.Mask), actMerge), nil
	case s.Entry.SameContent(s.Head):
		return changed(s.Head, mergeAttributes(s), actMerge), nil
	case s.Mask&FieldContent == 0:
		// Attributes against content. Against another kind they mean nothing.
		j := changed(s.Head, overlay(s.Head, s.Entry, s.Mask), actMerge)
		j.Unseen = true
		return j, nil
	case s.Base.Kind != Absent && s.Base.SameContent(s.Head):
		return changed(s.Head, overlay(s.Head, s.Entry, s.Mask), actMerge), nil
	}
	if s.NoBase {
		if at, err := s.Had(s.Entry, 0); err != nil || at != 0 {
			return judgement{Act: actNothing, At: at}, err
		}
	}
	j := judgement{Act: actCopy, Entry: s.Entry, Conflict: ConflictEditEdit}
	switch {
	case s.Entry.Kind != s.Head.Kind:
		j.Conflict = ConflictKinds
	case s.Base.Kind == Absent:
		j.Conflict = ConflictCreateCreate
	}
	return j, nil
}

// changed is a write of e over head, or nothing where they are equal.
func changed(head, e Entry, act action) judgement {
	if e == head {
		return judgement{Act: actNothing}
	}
	return judgement{Act: act, Entry: e}
}

// overlay returns head with the masked fields of e.
func overlay(head, e Entry, mask Fields) Entry {
	if head.Kind != e.Kind {
		if mask&FieldContent == 0 {
			return head
		}
		return e
	}
	if mask&FieldContent != 0 {
		head.Size, head.Content, head.Manifest, head.Target = e.Size, e.Content, e.Manifest, e.Target
	}
	if mask&FieldMode != 0 {
		head.Mode = e.Mode
	}
	if mask&FieldMTime != 0 {
		head.MTime = e.MTime
	}
	return head
}

// mergeAttributes is for equal contents on both sides. Without a base the head's
// attributes stay. A change of attributes alone is the later word on them; beside
// equal new content only what the other side left alone is taken.
func mergeAttributes(s situation) Entry {
	if s.NoBase {
		return s.Head
	}
	mask := s.Mask &^ FieldContent
	if s.Mask&FieldContent != 0 {
		if s.Head.Mode != s.Base.Mode {
			mask &^= FieldMode
		}
		if s.Head.MTime != s.Base.MTime {
			mask &^= FieldMTime
		}
	}
	return overlay(s.Head, s.Entry, mask)
}

// normal returns e without the fields that its kind does not use, and reports
// whether it can be an entry of a put.
func (e Entry) normal() (Entry, bool) {
	switch e.Kind {
	case File:
		e.Mode &= 0o7777
		e.Target = ""
		return e, e.Size >= 0 && !e.Content.IsZero()
	case Dir:
		return Entry{Kind: Dir, Mode: e.Mode & 0o7777}, true
	case Symlink:
		ok := e.Target != "" && len(e.Target) < id.MaxPath
		for i := 0; ok && i < len(e.Target); i++ {
			ok = e.Target[i] != 0
		}
		return Entry{Kind: Symlink, Target: e.Target}, ok
	}
	return e, false
}
