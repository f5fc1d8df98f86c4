package ask

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/cluster/kube/client"
)

// Hopeless are errors after which no other object need be tried.
func Hopeless(err error) bool {
	return apierrors.IsUnauthorized(err) || client.Unreached(err) || errors.Is(err, context.Canceled)
}

// Refusal says what the server had against an object: each field with its
// message where it names fields.
func Refusal(api *client.Client, err error) string {
	var status apierrors.APIStatus
	if client.Passing(err) {
		return api.Explain(err).Error()
	}
	if !errors.As(err, &status) {
		return err.Error()
	}
	if apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "admission") {
		return api.Explain(err).Error()
	}
	var parts []string
	if d := status.Status().Details; d != nil {
		for _, cause := range d.Causes {
			if cause.Field != "" {
				parts = append(parts, cause.Field+": "+cause.Message)
			}
		}
	}
	if len(parts) == 0 {
		return plainWords(err.Error())
	}
	return "the API server refuses it: " + strings.Join(parts, "; ")
}

// plainWords rewrites how the server speaks of fields that do not exist or do
// not fit: failed to create typed patch object (...): .spec.x: field not
// declared in schema.
func plainWords(text string) string {
	if rest, ok := strings.CutPrefix(text, "failed to create typed patch object ("); ok {
		_, rest, _ = strings.Cut(rest, "): ")
		text = "the API server refuses it: " + rest
	}
	return strings.ReplaceAll(text, "field not declared in schema", "there is no such field")
}

// KindGone reports whether there is not even the kind that was asked for: what
// discovery told is out of date.
func KindGone(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// MissingNamespace reports whether an object was refused because its namespace
// is not there.
func MissingNamespace(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) &&
		status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// Undeclared reports whether an object has a field that its kind does not.
func Undeclared(err error) bool {
	return err != nil && strings.Contains(err.Error(), "field not declared in schema")
}

// ConflictsOf lists the fields that others changed, from a refused apply.
func ConflictsOf(err error) []metav1.StatusCause {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(status.Status().Details.Causes), func(c metav1.StatusCause) bool {
		return c.Type != metav1.CauseTypeFieldManagerConflict
	})
}

// ManagerOf reads the name out of: conflict with "kubectl-edit" using apps/v1.
func ManagerOf(cause metav1.StatusCause) string {
	_, rest, _ := strings.Cut(cause.Message, "conflict with ")
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		if name, err := strconv.Unquote(quoted); err == nil {
			return name
		}
	}
	return rest
}

// immutableSaid is how API servers say that a field cannot change. Anything
// else that is invalid is a mistake, never a reason to delete an object.
var immutableSaid = []string{
	"immutable", "may not change once set", "may not be changed in an update", "cannot change roleRef",
	"updates to statefulset spec for fields other than", "pod updates may not change fields other than",
	"updates to parameters are forbidden", "updates to provisioner are forbidden", "updates to reclaimPolicy are forbidden",
}

// Immutable lists the fields that keep an object from being updated in place,
// if that is all the server has against it.
func Immutable(err error) []string {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	paths := map[string]bool{}
	for _, cause := range status.Status().Details.Causes {
		said := func(s string) bool { return strings.Contains(cause.Message, s) }
		if cause.Field == "" || !slices.ContainsFunc(immutableSaid, said) {
			return nil
		}
		paths[cause.Field] = true
	}
	return slices.Sorted(maps.Keys(paths))
}
