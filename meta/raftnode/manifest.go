package raftnode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// A manifest is one line "lockstep-snapshot 1 DIGEST" and then JSON, DIGEST being
// the BLAKE3 hash of the JSON.
const (
	manifestMagic = "lockstep-snapshot 1 "
	// maxManifest bounds a manifest in bytes; a file takes about 150.
	maxManifest = 16 << 20
	// maxSnapshotFiles bounds the files of a snapshot.
	maxSnapshotFiles = 100_000
	// maxSnapshotFile bounds one file in bytes: what a ustar header can say. The
	// store's tables are far smaller.
	maxSnapshotFile = 8<<30 - 1
	// maxSnapshotName bounds a file's name so that "state/" and it fit into a ustar
	// header.
	maxSnapshotName = 90
)

// ErrDamaged is wrapped when a snapshot does not match its checksums or cannot be
// understood.
var ErrDamaged = errors.New("snapshot is damaged")

// manifest describes one snapshot.
type manifest struct {
	// Index and Term are raft's; Index is stored as the applied index.
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// Configuration is raft's encoding of the membership at ConfigurationIndex.
	Configuration      []byte         `json:"configuration"`
	ConfigurationIndex uint64         `json:"configuration_index"`
	Files              []manifestFile `json:"files"`
}

// manifestFile is one file of the checkpoint.
type manifestFile struct {
	Name   string    `json:"name"`
	Size   int64     `json:"size"`
	Digest id.Digest `json:"blake3"`
}

func (m *manifest) marshal() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	out := append([]byte(manifestMagic), id.Sum(body).String()...)
	out = append(append(out, '\n'), body...)
	if len(out) > maxManifest {
		return nil, fmt.Errorf("snapshot manifest of %d bytes is over the limit of %d", len(out), maxManifest)
	}
	return out, m.check()
}

// parseManifest reads what marshal wrote and refuses anything else.
func parseManifest(b []byte) (*manifest, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("%w: manifest of %d bytes", ErrDamaged, len(b))
	}
	rest, ok := bytes.CutPrefix(b, []byte(manifestMagic))
	sum, body, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok || !ok2 {
		return nil, fmt.Errorf("%w: manifest is not of this format", ErrDamaged)
	}
	if id.Sum(body).String() != string(sum) {
		return nil, fmt.Errorf("%w: manifest does not match its checksum", ErrDamaged)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	m := new(manifest)
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
	}
	return m, m.check()
}

// check holds the bounds that protect whoever unpacks the snapshot.
func (m *manifest) check() error {
	if m.Index == 0 || len(m.Files) == 0 || len(m.Files) > maxSnapshotFiles {
		return fmt.Errorf("%w: index %d, %d files", ErrDamaged, m.Index, len(m.Files))
	}
	for i, f := range m.Files {
		if !safeName(f.Name) || f.Size < 0 || f.Size > maxSnapshotFile {
			return fmt.Errorf("%w: file %q of %d bytes", ErrDamaged, f.Name, f.Size)
		}
		if i > 0 && f.Name <= m.Files[i-1].Name {
			return fmt.Errorf("%w: file %q out of order", ErrDamaged, f.Name)
		}
	}
	return nil
}

// safeName reports whether name is a plain file name that no system takes for a
// path.
func safeName(name string) bool {
	if name == "" || len(name) > maxSnapshotName || name[0] == '.' {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r == '.' || r == '-' || r == '_')
	}) < 0
}

// meta returns the snapshot's description for raft.
func (m *manifest) meta(name string, size int64) (meta *raft.SnapshotMeta, err error) {
	defer func() {
		// raft.DecodeConfiguration panics on what it cannot read.
		if r := recover(); r != nil {
			meta, err = nil, fmt.Errorf("%w: configuration: %v", ErrDamaged, r)
		}
	}()
	return &raft.SnapshotMeta{
		Version:            1,
		ID:                 name,
		Index:              m.Index,
		Term:               m.Term,
		Configuration:      raft.DecodeConfiguration(m.Configuration),
		ConfigurationIndex: m.ConfigurationIndex,
		Size:               size,
	}, nil
}
