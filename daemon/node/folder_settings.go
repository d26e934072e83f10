package node

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// setting is one key of `folder set`. A key without get and put is replicated, under
// its own name, as an option of the folder's record.
type setting struct {
	key    string
	values string // what it can be, for people; the default first
	// check says whether the value is one that has an effect.
	check func(value string) bool
	// mend, if not nil, is check with words, and the value as it is kept.
	mend func(value string) (string, error)
	// unset is the value where nothing is set.
	unset string
	get   func(s local.Settings) string
	put   func(s *local.Settings, value string)
}

// settings is every key that is known, in the order in which they are shown. What is
// not here is refused: a setting without effect would be a promise.
var settings = []setting{
	{key: "conflicts", values: "copy|history", check: oneOf("copy", "history"), unset: "copy"},
	{
		key: "mode", values: "both|send|receive", check: oneOf("both", "send", "receive"), unset: "both",
		get: func(s local.Settings) string { return s.Mode },
		put: func(s *local.Settings, v string) { s.Mode = v },
	},
	{
		key: keyOnly, values: "PATTERNS, such as docs,/photos/2026 or *,!/big", mend: mendOnly, unset: "*",
		get: func(s local.Settings) string { return s.Only },
		put: func(s *local.Settings, v string) { s.Only = v },
	},
}

// keyOnly is the setting that restricts what a node keeps.
const keyOnly = "only"

// mendOnly checks patterns; those of everything are kept as "*".
func mendOnly(v string) (string, error) {
	o, err := ignore.ParseOnly(v)
	if bad, is := errors.AsType[*ignore.OnlyError](err); is {
		return "", control.Errorf(control.CodeUsage, "only=%q: %w", v, err).WithHint("%s", bad.Hint)
	}
	if o == nil {
		return "*", err
	}
	return o.String(), err
}

func (s setting) ofNode() bool { return s.put != nil }

func (s setting) scope() string {
	if s.ofNode() {
		return control.ScopeNode
	}
	return control.ScopeCluster
}

func oneOf(values ...string) func(string) bool {
	return func(v string) bool { return slices.Contains(values, v) }
}

// splitSettings checks what is to be set, and parts what is replicated from what is
// this node's.
func splitSettings(set map[string]string) (cluster, own map[string]string, err error) {
	cluster, own = make(map[string]string), make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(set)) {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		if i < 0 {
			var known []string
			for _, s := range settings {
				known = append(known, s.key)
			}
			return nil, nil, control.Errorf(control.CodeUsage, "set folder: there is no setting %q", key).
				WithHint("there are %s", strings.Join(known, ", "))
		}
		s := settings[i]
		if s.mend != nil {
			if own[key], err = s.mend(set[key]); err != nil {
				return nil, nil, err
			}
			continue
		}
		if !s.check(set[key]) {
			return nil, nil, control.Errorf(control.CodeUsage, "set folder: %s=%q: want %s", key, set[key], s.values)
		}
		if s.ofNode() {
			own[key] = set[key]
		} else {
			cluster[key] = set[key]
		}
	}
	return cluster, own, nil
}

// applySettings puts checked values into this node's settings. A default is kept as
// nothing, so that it stays the default.
func applySettings(s *local.Settings, set map[string]string) {
	for _, k := range settings {
		if v, ok := set[k.key]; ok && k.ofNode() {
			if v == k.unset {
				v = ""
			}
			k.put(s, v)
		}
	}
}

// showSettings lists the settings that hold. own is nil where this node does not keep
// the folder.
func showSettings(options map[string]string, own *local.Settings) (out []control.FolderSetting) {
	for _, s := range settings {
		v := options[s.key]
		if s.ofNode() {
			if own == nil {
				continue
			}
			v = s.get(*own)
		}
		if v == "" {
			v = s.unset
		}
		out = append(out, control.FolderSetting{Key: s.key, Value: v, Scope: s.scope(), Values: s.values})
	}
	return out
}
