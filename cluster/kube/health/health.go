// Package health judges whether objects are well (health.go), waits until they
// are (wait.go), looks at all that a target has (survey.go), and says why they
// are not well (reasons.go).
package health

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
)

// leaving is said of objects that are to stay.
const leaving = "is being deleted by somebody"

// Verdict is what an object's state says; State is "" while it is open.
type Verdict struct {
	State   cluster.StepState
	Message string
}

// Of judges an object that is to stay.
func Of(obj *unstructured.Unstructured) Verdict {
	if v, ok := healthOfKind(obj); ok && obj.GetDeletionTimestamp() == nil {
		return v
	}
	r, err := status.Compute(obj)
	if err != nil {
		// A status that cannot be read says nothing: custom kinds are free in
		// what they write there.
		return Verdict{cluster.Healthy, ""}
	}
	switch r.Status {
	case status.CurrentStatus:
		return Verdict{cluster.Healthy, ""}
	case status.FailedStatus:
		return Verdict{cluster.Unhealthy, r.Message}
	case status.TerminatingStatus:
		return Verdict{cluster.Unhealthy, leaving}
	}
	return Verdict{"", r.Message}
}

// healthOfKind knows kinds for which kstatus means something else by
// "current": it is content with a Job that runs, wants volumes bound before
// anything uses them, and does not know the others.
func healthOfKind(obj *unstructured.Unstructured) (Verdict, bool) {
	switch gk := obj.GroupVersionKind().GroupKind().String(); gk {
	case "Job.batch":
		if suspended, _, _ := unstructured.NestedBool(obj.Object, "spec", "suspend"); suspended {
			return Verdict{cluster.Healthy, "suspended"}, true
		}
		if message, ok := condition(obj, "Failed", "True"); ok {
			return Verdict{cluster.Unhealthy, "the Job failed: " + message}, true
		}
		if _, ok := condition(obj, "Complete", "True"); ok {
			return Verdict{cluster.Healthy, ""}, true
		}
		active, _, _ := unstructured.NestedInt64(obj.Object, "status", "active")
		return Verdict{"", fmt.Sprintf("the Job is not complete: %d pods active", active)}, true
	case "Deployment.apps":
		paused, _, _ := unstructured.NestedBool(obj.Object, "spec", "paused")
		return Verdict{cluster.Healthy, "paused: the rollout waits for somebody to resume it"}, paused
	case "PersistentVolumeClaim":
		// With WaitForFirstConsumer a claim is bound when a pod uses it, so
		// that its workload's health covers it.
		phase, _, _ := unstructured.NestedString(obj.Object, "status", "phase")
		if phase == "Lost" {
			return Verdict{cluster.Unhealthy, "the claim's volume is lost"}, true
		}
		return Verdict{cluster.Healthy, ""}, true
	case "APIService.apiregistration.k8s.io":
		if _, ok := condition(obj, "Available", "True"); ok {
			return Verdict{cluster.Healthy, ""}, true
		}
		message, _ := condition(obj, "Available", "False")
		return Verdict{"", cmp.Or(message, "not available yet")}, true
	}
	return Verdict{}, false
}

// condition returns the message of a condition if it has the given status.
func condition(obj *unstructured.Unstructured, kind, want string) (string, bool) {
	list, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, x := range list {
		if c, ok := x.(map[string]any); ok && c["type"] == kind && c["status"] == want {
			message, _ := c["message"].(string)
			return message, true
		}
	}
	return "", false
}

// whyNotGone says what keeps an object whose deletion was accepted.
func whyNotGone(obj *unstructured.Unstructured) string {
	if obj.GetKind() == "Namespace" && obj.GroupVersionKind().Group == "" {
		var why []string
		for _, kind := range []string{"NamespaceFinalizersRemaining", "NamespaceContentRemaining", "NamespaceDeletionContentFailure"} {
			if message, ok := condition(obj, kind, "True"); ok {
				why = append(why, message)
			}
		}
		if len(why) > 0 {
			return strings.Join(why, "; ")
		}
	}
	if f := obj.GetFinalizers(); len(f) > 0 {
		return "waits for the finalizer " + strings.Join(f, ", ") + " to be removed by its controller"
	}
	return "is still being deleted"
}
