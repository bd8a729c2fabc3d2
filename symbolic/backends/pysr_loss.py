"""The gradient loss in Julia, for SymbolicRegression.jl's ``loss_function``: the misalignment of `symbolic.scoring`.

One call of ``eval_grad_tree_array`` gives the value and all gradients in a single traversal. The direction
that belongs to a column is found by the data set's own ``y``, which holds row numbers: so a batch, which
slices X and y together, keeps its directions, and the function needs no fourth argument.
"""

from __future__ import annotations

#: Defines the state, its setter and the stopping rule; evaluated once in a worker, after ``using Zygote``.
SETUP = """
begin
const TWINSCOPE_DIRECTIONS = Ref{Matrix{Float64}}(zeros(0, 0))
const TWINSCOPE_WEIGHTS = Ref{Vector{Float64}}(zeros(0))
const TWINSCOPE_PROJECTORS = Ref{Array{Float64,3}}(zeros(0, 0, 0))
const TWINSCOPE_STOP_FILE = Ref{String}("")
const TWINSCOPE_ENOUGH = Ref{Float64}(0.0)
function twinscope_target!(directions, weights, projectors, projected, stop_file, enough)
    TWINSCOPE_DIRECTIONS[] = Matrix{Float64}(permutedims(directions))
    TWINSCOPE_WEIGHTS[] = Vector{Float64}(weights)
    TWINSCOPE_PROJECTORS[] = projected ? Array{Float64,3}(projectors) : zeros(0, 0, 0)
    TWINSCOPE_STOP_FILE[] = String(stop_file)
    TWINSCOPE_ENOUGH[] = Float64(enough)
    return nothing
end
end
"""

#: 1 − |mean cos| of the tree's gradient with the directions, projected where projectors are set. No direction
#: at some point, or a value outside the domain, makes the candidate infinitely bad.
LOSS = """
function twinscope_loss(tree, dataset::Dataset{T,L}, options) where {T,L}
    _, gradient, complete = eval_grad_tree_array(tree, dataset.X, options; variable=true)
    complete || return L(Inf)
    directions = TWINSCOPE_DIRECTIONS[]
    weights = TWINSCOPE_WEIGHTS[]
    projectors = TWINSCOPE_PROJECTORS[]
    y = dataset.y
    d = size(directions, 1)
    projected = zeros(Float64, d)
    total = 0.0
    mass = 0.0
    @inbounds for j in axes(gradient, 2)
        row = round(Int, y[j])
        if isempty(projectors)
            for i in 1:d
                projected[i] = gradient[i, j]
            end
        else
            p = size(projectors, 1) == 1 ? 1 : row
            for i in 1:d
                s = 0.0
                for k in 1:d
                    s += projectors[p, i, k] * gradient[k, j]
                end
                projected[i] = s
            end
        end
        squared = 0.0
        along = 0.0
        for i in 1:d
            squared += projected[i]^2
            along += projected[i] * directions[i, row]
        end
        (isfinite(squared) && squared > 0) || return L(Inf)
        total += weights[row] * along / sqrt(squared)
        mass += weights[row]
    end
    return L(max(0.0, 1.0 - abs(total / mass)))
end
"""

#: Stops below the noise floor, or when the parent process leaves a file.
STOP = "twinscope_stop(loss, complexity) = loss < TWINSCOPE_ENOUGH[] || isfile(TWINSCOPE_STOP_FILE[])"
