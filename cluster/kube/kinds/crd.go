package kinds

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/client-go/kubernetes/scheme"

	"lockkeeper/cluster"
)

// CRD is cluster.Ref.GroupKind of definitions of kinds.
const CRD = "CustomResourceDefinition.apiextensions.k8s.io"

// Defined is the kind that the content of a CRD defines.
func Defined(crd map[string]any) schema.GroupKind {
	group, _, _ := unstructured.NestedString(crd, "spec", "group")
	name, _, _ := unstructured.NestedString(crd, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: name}
}

// Planned are what the merge result brings along: kinds by its CRDs (new
// ones and changed ones), and namespaces. Objects that need them cannot be
// dry-run before they exist.
type Planned struct {
	CRDs       map[schema.GroupKind]*cluster.Object
	Namespaces map[string]bool
}

// PlannedIn looks through a merge result; changed tells which of its objects
// the plan asks about.
func PlannedIn(merge []cluster.Object, changed func(cluster.Ref) bool) Planned {
	p := Planned{map[schema.GroupKind]*cluster.Object{}, map[string]bool{}}
	for i := range merge {
		o := &merge[i]
		switch o.Ref.GroupKind() {
		case "Namespace":
			p.Namespaces[o.Ref.Name] = true
		case CRD:
			if changed(o.Ref) {
				p.CRDs[Defined(o.Content)] = o
			}
		}
	}
	return p
}

// Defines reports whether the plan brings or changes the kind of an object.
func (p Planned) Defines(ref cluster.Ref) bool {
	return p.CRDs[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}] != nil
}

// Fits validates a custom resource against the schema of a CRD as the
// server would: unknown fields, types, lists, rules.
func Fits(ctx context.Context, obj *unstructured.Unstructured, crd *cluster.Object, version string) error {
	props, err := schemaOf(crd, version)
	if err != nil {
		return err
	}
	s, err := structural.NewStructural(props)
	if err != nil {
		return fmt.Errorf("the schema of version %s is not usable: %w", version, err)
	}
	content := obj.DeepCopy().Object
	unknown := pruning.PruneWithOptions(content, s, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	var errs []string
	for _, f := range unknown {
		errs = append(errs, fmt.Sprintf("unknown field %q", f))
	}
	defaulting.Default(content, s)
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return fmt.Errorf("the schema of version %s is not usable: %w", version, err)
	}
	found := validation.ValidateCustomResource(nil, content, validator)
	found = append(found, listtype.ValidateListSetsAndMaps(nil, s, content)...)
	found = append(found, rules(ctx, content, s)...)
	for _, e := range found {
		errs = append(errs, e.Error())
	}
	if len(errs) > 0 {
		return fmt.Errorf("%s", strings.Join(errs, "; "))
	}
	return nil
}

// rules evaluates the CEL rules of a schema, within the server's cost limit.
func rules(ctx context.Context, content map[string]any, s *structural.Structural) field.ErrorList {
	v := cel.NewValidator(s, true, celconfig.PerCallLimit)
	if v == nil {
		return nil
	}
	errs, _ := v.Validate(ctx, nil, s, content, nil, celconfig.RuntimeCELCostBudget)
	return errs
}

// Defaulted is the content of a custom resource with the defaults of a CRD, nil
// if that has no usable schema for the resource's version.
func Defaulted(o, crd *cluster.Object) map[string]any {
	gv, err := schema.ParseGroupVersion(o.APIVersion)
	if err != nil {
		return nil
	}
	props, err := schemaOf(crd, gv.Version)
	if err != nil {
		return nil
	}
	s, err := structural.NewStructural(props)
	if err != nil {
		return nil
	}
	content := (&unstructured.Unstructured{Object: o.Content}).DeepCopy().Object
	defaulting.Default(content, s)
	return content
}

func schemaOf(o *cluster.Object, version string) (*apiextensions.JSONSchemaProps, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Content, &crd); err != nil {
		return nil, fmt.Errorf("the CRD cannot be read: %w", err)
	}
	for _, v := range crd.Spec.Versions {
		if v.Name != version || !v.Served {
			continue
		}
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			return nil, fmt.Errorf("the CRD has no schema for version %s", version)
		}
		out := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, out, nil); err != nil {
			return nil, fmt.Errorf("the schema of version %s is not usable: %w", version, err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the CRD does not serve version %s", version)
}

// DecodesStrictly checks a built-in kind without a server: unknown and
// duplicate fields, and types. Custom kinds pass.
func DecodesStrictly(u *unstructured.Unstructured) error {
	if !scheme.Scheme.Recognizes(u.GroupVersionKind()) {
		return nil
	}
	b, err := u.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Strict: true})
	if _, _, err := strict.Decode(b, nil, nil); err != nil {
		return fmt.Errorf("invalid: %w", err)
	}
	return nil
}
