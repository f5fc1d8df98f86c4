// Package names says how things are called: the keys under which there is work and
// which leases are on, and the short forms of hashes.
package names

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// PullKey names a pull in the store and in work keys.
type PullKey struct {
	Repo   int64 // the forge's id of the repository
	Number int
}

// String is the work key: "pull/<repository id>/<number>".
func (k PullKey) String() string { return fmt.Sprintf("pull/%d/%d", k.Repo, k.Number) }

// TargetKey names the lease of a target.
func TargetKey(t cluster.Target) string {
	return TargetKeys(t.Cluster) + t.Name + "/" + strconv.FormatInt(t.RepoID, 10)
}

// TargetKeys is what the keys of all targets of a cluster begin with.
func TargetKeys(clusterName string) string { return "target/" + clusterName + "/" }

// HolderName makes "pull/1/7" readable on a forge.
func HolderName(holder string, on forge.Limits) string {
	var repo int64
	var number int
	if n, err := fmt.Sscanf(holder, "pull/%d/%d", &repo, &number); n == 2 && err == nil {
		return on.PullName(number)
	}
	if strings.HasPrefix(holder, "heal/") {
		return "a heal"
	}
	return holder
}

// Short abbreviates a commit or a digest for people.
func Short(sha string) string {
	if len(sha) > 7 {
		return sha[:7]
	}
	return sha
}

// Hash is a digest for comparing texts and keys.
func Hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
